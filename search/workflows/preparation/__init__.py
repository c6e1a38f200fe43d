"""What a search is made of before it starts: network, weights, data, evaluator, cost."""
