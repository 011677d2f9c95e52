// SPDX-License-Identifier: Apache-2.0

// A program with the AWS SDK for Go: it makes a data key and has it decrypted. usage: program KEY
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	configuration, err := config.LoadDefaultConfig(ctx)
	check(err)
	client := kms.NewFromConfig(configuration)
	key, encryptionContext := aws.String(os.Args[1]), map[string]string{"tenant": "42"}
	made, err := client.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{KeyId: key, KeySpec: types.DataKeySpecAes256, EncryptionContext: encryptionContext})
	check(err)
	opened, err := client.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: made.CiphertextBlob, EncryptionContext: encryptionContext})
	check(err)
	if len(opened.Plaintext) != 32 || !bytes.Equal(opened.Plaintext, made.Plaintext) {
		check(fmt.Errorf("another data key"))
	}
}
