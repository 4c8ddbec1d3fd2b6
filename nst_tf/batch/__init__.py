"""Many pictures, on one machine or a cluster."""
