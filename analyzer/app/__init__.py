"""The daemon: everything that joins the pure core to the ports."""
