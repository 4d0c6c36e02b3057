module example.com/rename

go 1.23.0
