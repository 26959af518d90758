// Package destinations reads the setting STORAGE, opens the destinations that it names, makes
// one store of them, and finds exports over all of them.
//
// It stands below internal/storage and not in it: it opens the drivers file, s3 and telegram,
// and these import internal/storage.
package destinations
