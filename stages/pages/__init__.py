"""What HTML pages say of themselves, and their text by a quick cut: charset, declared language; read by several stages."""
