"""How each idea changed what a convolutional network costs, computed on real graphs."""
