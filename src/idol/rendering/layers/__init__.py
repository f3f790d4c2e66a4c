"""A clip separated into person and background, with edges, metric scale and ground."""
