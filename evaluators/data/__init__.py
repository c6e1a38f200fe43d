"""What a plan is trained and measured on: data sets, folders of images, augmentation."""
