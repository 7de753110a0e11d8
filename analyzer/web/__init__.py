"""What Serin serves over HTTP: health and its own metrics."""
