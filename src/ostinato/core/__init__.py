"""What a layer is: building and calling, weights, configs, masks, symbolic tensors and graphs."""
