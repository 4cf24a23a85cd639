"""The admin listener: what probes and Prometheus ask, over plain HTTP, without a certificate. For this machine."""
