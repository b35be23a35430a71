"""One module of routes for each thing that is asked or done; `ROUTES` of each are served."""
