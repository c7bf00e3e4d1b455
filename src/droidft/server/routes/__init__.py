"""One module per concept; each route is a few lines over what the concept's module does."""
