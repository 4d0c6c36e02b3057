module example.com/found

go 1.21
