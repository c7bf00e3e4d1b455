"""What computes: device, BLAS, compiler, kernels."""
