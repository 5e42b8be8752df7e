"""What this host is and who we are on it: users, rights, namespaces, security modules, and what /proc says."""
