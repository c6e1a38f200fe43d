"""What people look at: fronts and plans as figures and pictures. No torch, no ray."""
