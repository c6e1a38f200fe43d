"""What plans cost, in closed form: nothing is built to know it."""
