module example.com/go-plugin

go 1.22
