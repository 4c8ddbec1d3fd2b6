"""The process of a page: its address, its passwords, its folder, from start to end."""
