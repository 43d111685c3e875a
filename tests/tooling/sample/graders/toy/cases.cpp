int Cases() { return 0; }
