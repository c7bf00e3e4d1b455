"""Pages and pictures that need no server: templates, SVG."""
