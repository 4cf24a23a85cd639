"""What a person sees: a real Chromium, with a client certificate that a policy of the machine selects."""
