"""From images to a search box: encode any images, index the codes, search them, show what was found."""
