"""What a person sees in a browser: the card of who they are, and for administrators the authority and who is here."""
