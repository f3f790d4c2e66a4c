"""The networks at work: inputs to conditions, sampling, decoding, compositing."""
