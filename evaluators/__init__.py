"""How good a plan is: data sets, training and the objectives that are measured."""
