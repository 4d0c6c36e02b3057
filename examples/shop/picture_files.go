package main

import (
	"context"
	"errors"
	"hash/crc32"
	"time"
)

// pictureFiles is the number of files that the feed's size is spread over.
const pictureFiles = 16

// indexPictures maps one file of pictures after the other, reads each through its mapping only, at
// bytesPerSecond in all, and keeps all of them mapped until ctx is done.
func indexPictures(ctx context.Context, settings Settings, bytesPerSecond float64) (err error) {
	const tick, part = 50 * time.Millisecond, 64 << 10
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	owed := 0.0
	for range pictureFiles {
		pictures, openErr := OpenFeed(settings.FeedDir, settings.FeedBytes/pictureFiles)
		if openErr != nil {
			return errors.Join(err, openErr)
		}
		defer func() { err = errors.Join(err, pictures.Close()) }()
		for at := 0; at < len(pictures.mapped); at += part {
			for owed < part {
				select {
				case <-ctx.Done():
					return err
				case <-ticker.C:
				}
				owed += bytesPerSecond * tick.Seconds()
			}
			owed -= part
			_ = crc32.ChecksumIEEE(pictures.mapped[at:min(at+part, len(pictures.mapped))])
		}
	}
	<-ctx.Done()
	return err
}
