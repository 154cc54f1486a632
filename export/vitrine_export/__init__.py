"""Checkpoint to gated inference engine: PyTorch, ONNX, OpenVINO and TensorRT."""
