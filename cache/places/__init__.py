"""Where files lie: folders of this machine and URLs, written durably and read in parts."""
