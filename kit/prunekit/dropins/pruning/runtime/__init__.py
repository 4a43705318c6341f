# SPDX-License-Identifier: AGPL-3.0-or-later
"""Networks in torch, ONNX Runtime and OpenVINO: exported, checked, quantized, timed. Imports family and errors."""
