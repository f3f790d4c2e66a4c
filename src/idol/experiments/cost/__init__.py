"""Cost of a clip: IDOL and the compared methods side by side in one process (Table 7 of the paper)."""
