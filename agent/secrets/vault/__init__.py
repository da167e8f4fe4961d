"""HashiCorp Vault and OpenBao as a secret store, with one file for each way to log in."""
