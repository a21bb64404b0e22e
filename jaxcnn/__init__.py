"""jaxcnn: the classic convolutional networks for JAX."""
