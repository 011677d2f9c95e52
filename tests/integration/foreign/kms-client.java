// SPDX-License-Identifier: Apache-2.0

import java.util.Map;
import software.amazon.awssdk.services.kms.KmsClient;
import software.amazon.awssdk.services.kms.model.DataKeySpec;

/** A program with the AWS SDK for Java: it makes a data key and has it decrypted. usage: java Program KEY */
class Program {
    public static void main(String[] arguments) {
        Map<String, String> context = Map.of("tenant", "42");
        try (KmsClient kms = KmsClient.create()) {
            var made = kms.generateDataKey(r -> r.keyId(arguments[0]).keySpec(DataKeySpec.AES_256).encryptionContext(context));
            var opened = kms.decrypt(r -> r.ciphertextBlob(made.ciphertextBlob()).encryptionContext(context));
            if (!opened.plaintext().equals(made.plaintext()) || opened.plaintext().asByteArray().length != 32)
                throw new IllegalStateException("another data key");
        }
    }
}
