"""C++ kernels for MLX's CPU backend: the sources, and `build` to compile them."""
