"""The cells of an ablation: training and measuring one, and comparing all of them."""
