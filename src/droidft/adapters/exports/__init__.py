"""Adapters on their way out: PEFT, merged models, GGUF; and the certificate that each export carries."""
