"""The search joined to training, evaluation and tracking: workers, what they report, what is accepted."""
