"""For those who write drivers: a fake target, the contract to pass, and crash points."""
