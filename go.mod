module apogee

go 1.26.0
