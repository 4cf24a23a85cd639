"""The commands of `handclasp-pki`: words into calls, outcomes into words. `pki.cli` puts them together."""
