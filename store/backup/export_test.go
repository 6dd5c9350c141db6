package backup

// Cheap makes scrypt cheap until the returned function is called.
func Cheap() (restore func()) {
	before := workFactor
	workFactor = 4
	return func() { workFactor = before }
}
