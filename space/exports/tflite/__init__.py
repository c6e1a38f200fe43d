"""TFLite files: int8, each shared kernel one buffer, for LiteRT and TFLite Micro."""
