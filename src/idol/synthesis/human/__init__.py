"""The synthetic person: body, clothes, hair, key points."""
