"""From measurements to statements: arrays in, numbers and sentences out."""
