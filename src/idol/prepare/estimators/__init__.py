"""Networks that find people, joints, masks and depth in images."""
