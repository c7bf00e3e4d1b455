"""What is optimised: supervised, from rewards, from preferences."""
