"""What an image stands on: Python and the libraries below it, from Debian packages or by reference."""
