module dockwarden.test/support

go 1.25
