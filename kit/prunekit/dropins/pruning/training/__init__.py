# SPDX-License-Identifier: AGPL-3.0-or-later
"""While a network trains: BN-L1, distillation, schedule, BatchNorm statistics, several processes. Imports errors."""
