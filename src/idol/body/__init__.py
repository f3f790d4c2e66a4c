"""The parametric body: its rig, how motion moves it, and joints lifted to three dimensions."""
